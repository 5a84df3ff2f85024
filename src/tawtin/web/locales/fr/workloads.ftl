### Les charges de travail, une charge, et une nouvelle.

workloads-what = Les plus récentes d’abord. Ce qui est affiché est dans l’adresse, à garder ou à envoyer.
search-hint = nom, identifiant, projet
cancel-chosen = Annuler les charges choisies
workloads-none = Rien ici
workloads-none-what = Ce que vous soumettez apparaît ici : pourquoi cela attend, où cela s’exécute et ce que cela coûte.
col-name = Nom
col-why = Pourquoi
col-where = Où
col-tenant = Locataire
col-gpus = GPU
col-submitted = Soumise
col-cost = Coût
col-id = Identifiant
col-type = Type
col-priority = Priorité
col-project = Projet
col-price = Prix, heure-GPU
col-queue = File
col-latency = Latence, ms
col-carbon = Carbone, g/kWh
col-move = À déplacer
col-score = Note, s

class-data = données de classe { $class }, origine { $origin }
print-verdict = Imprimer le verdict
print-note = Verdict de l’usine { $factory }, { $country }.
start-estimate = Démarrage prévu à { $when }
start-none = En l’état, elle ne démarre pas
ahead = { $count ->
    [0] aucune avant elle
    [one] { $count } avant elle
    [many] { $count } avant elle
   *[other] { $count } avant elle
}
exit-code = code de sortie { $code }
step-queued = En attente
step-placed = Placée
step-running = En cours
step-end = Fin
step-succeeded = Réussie
step-failed = Échec
step-cancelled = Annulée
at-latest = à { $when } au plus tard
log = Journal
log-search = Chercher dans le journal
log-whole = Tout le journal de la dernière exécution.
log-not-for-auditors = Ce qu’écrivent les exécutions n’est pas pour les auditeurs : ils voient les preuves, et rien de ce qui appartient à un locataire.
log-cut = Les derniers { $size } de la dernière exécution ; le téléchargement contient tout ce qui est conservé.
log-older = Les lignes plus anciennes sont dans le téléchargement.
download = Télécharger
follow = suivre
runs = Exécutions
epoch = Époque
placed = Placée
ended = Terminée
outcome = Issue
cost-so-far = à ce jour, hors taxe
budget-of = Barre : budget de { $amount }.
used-gpu = Temps GPU
used-cpu = Temps processeur
used-memory = Mémoire maximale
evidence = Preuve
spec-digest = Spéc., SHA-256
log-entries = Entrées du journal d’audit
receipt = Reçu
outputs = Résultats
terms = Conditions
if-cut-off = Si coupée
max-duration = Durée maximale
verdict-title = Où peut-elle s’exécuter, et pourquoi
verdict = Verdict
rule = Règle et référence juridique
in-full = En détail
chosen = choisie
allowed = Autorisé
refused = Refusé
not-asked = Non sollicitée : rien de cette charge n’y a été envoyé.
verdict-note = La règle la plus stricte l’emporte ; l’inconnu est refusé. Ceci n’est pas un avis juridique.

new-what = Le plan est refait à mesure que vous écrivez. Rien n’est soumis avant votre accord.
spec-yaml = Spécification, YAML
example = Exemple
check-plan = Afficher le plan
submit = Soumettre
plan = Plan
plan-now = Elle démarrerait maintenant
plan-waits = Elle attendrait
plan-unlawful = Elle ne peut pas s’exécuter ici
plan-wrong = La spécification ne peut pas être acceptée telle quelle.
plan-none = Pas encore de plan
plan-none-what = Où elle s’exécuterait, pourquoi, quand et à quel coût s’affiche ici.
cost-max = Coût maximal
cost-open = ouvert : elle n’a pas de durée maximale
