### How much a run used over its time.

metrics = Utilisation au fil du temps
metrics-none = Rien n’en est encore mesuré. Les grappes rattachées ne donnent que des totaux.
metrics-elsewhere = Elle est mesurée à { $factory } ; ce qu’elle a utilisé en tout revient avec son reçu.
metrics-what = De la dernière exécution, UTC. Une longue exécution est mesurée moins souvent avec le temps.
metric-when = À
metric-cpu = Processeurs en activité
metric-short-cpu = CPU
metric-memory = Mémoire utilisée
metric-short-memory = Mémoire
metric-gpu = GPU en activité, en moyenne
metric-short-gpu = GPU
metric-asked = demandé
