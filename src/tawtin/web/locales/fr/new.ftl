### Nouvelle charge : le formulaire à côté du YAML.

form = Formulaire
form-not-given = non précisé
form-in-text = Le YAML est illisible, ou le dit d’une façon qui n’a pas de champ : modifiez-le là.
field-name = Nom
field-run = Script
field-cpus = Processeurs par nœud
field-memory = Mémoire par nœud
field-accelerators = GPU par nœud
field-class = Classe des données
field-origin = Pays des données
field-duration = Durée maximale
field-countries = Pays qui peuvent l’exécuter
