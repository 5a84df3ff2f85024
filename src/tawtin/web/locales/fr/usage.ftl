### Usage and budget.

usage-statement = Relevé d’usage
usage-all-tenants = Tous les locataires
usage-so-far = à ce jour
usage-print = Imprimer le relevé
usage-csv = Télécharger (CSV)
usage-issued-by = Établi par { $factory }, { $country }
usage-issued-to = Pour { $tenant }
usage-issued-at = le { $when }, UTC
usage-no-invoice = Un relevé d’usage hors taxes, pas une facture.
usage-month = Mois
usage-cost-of-month = Coût du mois
usage-cost-parts = exécutions { $runs }, modèles { $models }
usage-budget-left = Budget restant
usage-of-budget = sur { $amount } ce mois-ci
usage-of-budgets = { $count ->
    [one] sur { $amount }, pour un locataire doté d’un budget
    [many] sur { $amount }, pour { $count } de locataires dotés d’un budget
   *[other] sur { $amount }, pour { $count } locataires dotés d’un budget
}
usage-no-budget = aucun budget n’est fixé
usage-month-over = le mois est clos
usage-gpu-hours = Heures-GPU
usage-cpu-hours = Heures-CPU
usage-and-cpu-hours = et { $hours } heures-CPU
usage-runs = { $count ->
    [one] { $count } exécution
    [many] { $count } d’exécutions
   *[other] { $count } exécutions
}
usage-rate-of-gpu = du temps GPU utilisé sur place
usage-rate-of-cpu = du temps processeur utilisé sur place ; aucun GPU utilisé
usage-nothing-yet = Rien ne s’est terminé ce mois-là.
usage-by-month = Coût par mois
usage-before-tax = { $currency }, hors taxes
usage-kept-by-month = Les comptes sont tenus par mois civil, UTC.
usage-where = Lieu d’utilisation
usage-ring-gpu = Temps GPU
usage-ring-cpu = Temps processeur
usage-ring-bytes = Octets entrés et sortis des exécutions
usage-ring-runs = Exécutions
usage-ring-tokens = Jetons des modèles
usage-by-tenant = Par locataire
usage-of-runs = Exécutions
usage-of-models = Modèles
usage-left = Restant
usage-total = Total
usage-how-counted = Les exécutions comptent une fois terminées, et les requêtes aux modèles une fois imputées ; ce qui s’exécute est déjà déduit du budget restant.
usage-no-projects = Les comptes ne connaissent pas les projets : la page d’une charge de travail indique son coût.
usage-by-country = Par pays
usage-country = Pays
usage-col-runs = Exécutions
usage-col-bytes = Données transférées
usage-requests = Requêtes
usage-tokens = Jetons
usage-country-what = Là où les exécutions se sont terminées et où les requêtes ont reçu réponse, si c’est connu. Les coûts ne sont pas tenus par pays.
usage-by-model = Jetons par modèle
usage-model = Modèle
usage-tokens-in = Jetons en entrée
usage-tokens-out = Jetons en sortie
usage-no-models = Aucune requête à un modèle n’a été imputée ce mois-là.
usage-model-what = ≈ : une estimation y figure, un serveur n’ayant pas indiqué le nombre de jetons.
