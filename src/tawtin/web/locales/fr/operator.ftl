### Pour qui exploite l’usine.

operator-what = Ce que possède { $factory }, qui l’occupe, qui attend, et quels sont ses pairs.
act = Agir
alarm = Un pair demande votre attention.
store-restored = La base a été restaurée d’une sauvegarde.
store-silent = Rien ne part vers les pairs avant que tous aient dit ce qu’ils savent. Pas encore entendus :
store-was-restored = La base a été restaurée d’une sauvegarde : { $when }.
not-isolated = Les exécutions ne sont pas isolées ici : seul le locataire propre de l’usine peut exécuter des charges.

nodes = Nœuds
node = Nœud
nodes-none = Pas encore de nœud
nodes-none-what = Un moteur annonce ses machines de lui-même, dès qu’il est configuré dans factory.toml.
nodes-more = { $count ->
    [one] { $count } autre nœud n’est pas affiché ; ceux qui demandent attention viennent d’abord.
    [many] { $count } d’autres nœuds ne sont pas affichés ; ceux qui demandent attention viennent d’abord.
   *[other] { $count } autres nœuds ne sont pas affichés ; ceux qui demandent attention viennent d’abord.
}
health = Santé
health-ready = Prêt
health-draining = En retrait
health-sick = Défaillant
health-gone = Disparu
declared = GPU déclarés, non réels
gpus-free-of = { $free } GPU libres sur { $total }
cpus-free = Processeurs libres
memory-free = Mémoire libre
cpus = { $count ->
    [one] { $count } processeur
    [many] { $count } de processeurs
   *[other] { $count } processeurs
}
runs-more = { $count ->
    [one] { $count } autre
    [many] { $count } d’autres
   *[other] { $count } autres
}
runs-none = Rien ne s’exécute ici.
out-of-service = Hors service
out-count = { $count ->
    [one] { $count } quarantaine
    [many] { $count } de quarantaines
   *[other] { $count } quarantaines
}
out-since = depuis le { $when }
out-by = par { $key }
out-tried = { $count ->
    [one] { $count } essai non réussi
    [many] { $count } d’essais non réussis
   *[other] { $count } essais non réussis
}
out-trial = à l’essai
whole-node = nœud entier
fault-xid = erreur du pilote
fault-ecc = erreurs de mémoire
fault-row_remap = mémoire à réparer
fault-temperature = trop chaud
fault-throttled = ralenti
fault-nvlink = liaisons coupées
fault-lost = perdu
fault-burn_in = essai non réussi
fault-operator = retiré
drain = Retirer
drain-ask = Ce qui s’exécute ici prend fin, après son signal de sauvegarde, et reprend ailleurs ; rien de nouveau ne démarre.
drain-sure = Confirmer le retrait
undrain = Remettre en service
undrain-ask = De nouvelles exécutions peuvent y démarrer.
undrain-sure = Confirmer la remise
gpus = GPU
index = Numéro
run = Exécution
gpu-number = GPU { $number }
gpu-out = Quarantaine
gpu-held = Utilisé
gpu-withheld = Retenu
gpu-free = Libre
quarantine = Mettre en quarantaine
quarantine-what = Ce qui est choisi n’est attribué à personne jusqu’à sa remise.
quarantine-ask = Les exécutions qui l’occupent prennent fin, après leur signal de sauvegarde, et reprennent ailleurs.
quarantine-sure = Confirmer la quarantaine
return = Remettre
return-what = Tout, si rien n’est choisi
return-ask = Cela revient en service.
return-sure = Confirmer la remise
untested = tout de suite, sans son essai
no-burn-in = Il n’y a pas de travail d’essai : burn_in.script dans factory.toml en définit un.

queue = File d’attente
queue-none = Rien n’attend.
waiting = En attente
not-explained = non examiné

tenants = Locataires
tenants-none = Aucun locataire ne porte ce nom.
tenants-more = { $count ->
    [one] { $count } autre n’est pas affiché : cherchez-le.
    [many] { $count } d’autres ne sont pas affichés : cherchez-les.
   *[other] { $count } autres ne sont pas affichés : cherchez-les.
}
tenant-open = Ouvert
tenant-closed = Fermé
tenant-owner = Propriétaire
held-gpus = GPU occupés
held-cpus = Processeurs occupés
held-runs = Exécutions
held-workloads = Non terminées
spent-in = Dépensé en { $month }
of-budget = sur { $amount }
quota = Quota
quota-weight = Poids
quota-note = Occupé / permis à la fois. ∞ : sans limite.
quota-help = Un champ vide est sans limite ; le poids et la priorité exigent un nombre.
quota-set = Modifier le quota
limit-gpus = GPU
limit-cpus_milli = Processeurs
limit-memory_mib = Mémoire, Mio
limit-runs = Exécutions à la fois
limit-workloads = Charges non terminées
limit-weight = Poids
limit-priority_max = Priorité maximale
limit-budget_minor_per_month = Budget mensuel, { $currency }

keys = Clés
keys-none = Pas encore de clé.
key-new = Nouvelle clé
key-issue = Créer une clé
key-issued = Une clé a été créée
key-once = Elle s’affiche maintenant et plus jamais : conservez-la avant de quitter cette page.
key-kept = Elle est conservée
key-valid = Valable
key-expired = Expirée
key-revoked = Révoquée
scope = Droits
issued = Créée
expires = Expire
never = jamais
days-valid = Valable, en jours
days-help = Vide : jusqu’à sa révocation.
revoke = Révoquer
revoke-ask = Qui s’en sert est exclu aussitôt, et pour de bon.
revoke-sure = Confirmer la révocation

peers = Pairs
peers-none = Cette usine n’en connaît pas encore d’autres.
peer-invited = Invité
peer-active = Actif
peer-leaving = En départ
peer-left = Parti
peer-revoked = Révoqué
last-heard = Dernières nouvelles
ago = il y a { $span }
lent = Prêté
hours = { $hours } UTC
offered = Offert
nothing = rien

events = Événements
events-all = Tous les événements
events-what = Les plus récents d’abord, tels qu’ils sont dans le journal de l’usine. Les détails sont les mots du journal lui-même.
entry = Entrée
at = Heure
event = Événement
about = Objet
detail = Détail
by = Par la clé
event-TenantPut = Locataire modifié
event-KeyPut = Clé modifiée
event-NodePut = Nœud annoncé
event-NodeRemoved = Nœud parti
event-QuarantinePut = Quarantaine modifiée
event-SubmissionRefused = Soumission refusée
event-WorkloadsSubmitted = Soumission acceptée
event-CancelAsked = Fin demandée
event-ReplicaRested = Réplique en veille ou réveillée
event-WorkspaceShared = Espace de travail partagé ou non
event-ServiceScaled = Service redimensionné
event-RunPlaced = Exécution placée
event-RunStarted = Exécution démarrée
event-RunMetered = Exécution mesurée
event-StopOrdered = Arrêt ordonné
event-RunEnded = Exécution terminée
event-ArtifactKept = Artefact conservé
event-ArtifactDropped = Artefact abandonné
event-FilesCrossed = Fichiers passés à une frontière
event-TokensCharged = Jetons facturés
event-VerdictsLapsed = Verdicts échus
event-RunFenced = Résultat tardif écarté
event-GuestPut = Hôte modifié
event-GuestFilesDropped = Fichiers d’un hôte abandonnés
event-GuestFilesGone = Fichiers d’un hôte supprimés
event-PeerPut = Pair modifié
event-StoreRestored = Base restaurée
event-RecallWaived = Pair qui n’est plus attendu
event-EpochsRaised = Époques relevées
