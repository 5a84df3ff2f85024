### How much a run used over its time.

metrics = Use over time
metrics-none = Nothing is measured of it yet. Clusters that are attached say totals alone.
metrics-elsewhere = It is measured at { $factory }, and what it used in all comes home with its receipt.
metrics-what = Of the last run, UTC. A long run is looked at less often as it goes on.
metric-when = At
metric-cpu = Processors at work
metric-short-cpu = CPU
metric-memory = Memory in use
metric-short-memory = Memory
metric-gpu = GPUs at work, on average
metric-short-gpu = GPU
metric-asked = asked for
