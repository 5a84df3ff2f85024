### New workload: the form beside the YAML.

form = Form
form-not-given = not given
form-in-text = The YAML cannot be read, or says this in a way that has no field: change it there.
field-name = Name
field-run = Script
field-cpus = Processors on each node
field-memory = Memory on each node
field-accelerators = GPUs on each node
field-class = Class of the data
field-origin = Country of the data
field-duration = Longest duration
field-countries = Countries that may run it
