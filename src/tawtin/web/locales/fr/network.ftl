### Le réseau.

network-what = { $count ->
    [one] Une usine, { $factory }, qui n’en connaît pas encore d’autres.
    [many] { $count } d’usines vues de { $factory }. Un chiffre d’une autre usine est sa propre parole signée.
   *[other] { $count } usines vues de { $factory }. Un chiffre d’une autre usine est sa propre parole signée.
}
map-title = Carte des usines
map-table = La même en tableau
cut = Coupé
cut-link = Le lien { $here } – { $there } est coupé.
cut-since = Aucune nouvelle depuis { $span }.
cut-what = Les deux continuent d’elles-mêmes, et rien n’est lancé deux fois.
cut-runs = { $count ->
    [one] { $count } exécution se poursuit à { $there } ; son usine d’origine l’attend.
    [many] { $count } d’exécutions se poursuivent à { $there } ; leur usine d’origine les attend.
   *[other] { $count } exécutions se poursuivent à { $there } ; leur usine d’origine les attend.
}
cut-see = Ce qui s’exécute
runs-out = { $count ->
    [one] { $count } exécution là-bas
    [many] { $count } d’exécutions là-bas
   *[other] { $count } exécutions là-bas
}
runs-in = { $count ->
    [one] { $count } exécution de là-bas
    [many] { $count } d’exécutions de là-bas
   *[other] { $count } exécutions de là-bas
}
not-heard = sans nouvelles
not-said = n’a rien annoncé
gpus-used = GPU utilisés
gpus-of = { $used } GPU sur { $total }
gpus-free = { $count ->
    [one] { $count } GPU libre
    [many] { $count } de GPU libres
   *[other] { $count } GPU libres
}
legend-link = lien, avec son aller-retour
legend-flow = charges en itinérance
legend-cut = lien coupé
legend-star = usine ; en bleu, celle où vous êtes
localisation = Taux de localisation
localisation-of-gpus = temps GPU, { $month }
localisation-of-cpus = temps processeur, { $month }
localisation-none = Rien ne s’est encore terminé ce mois-ci.
at-home = au pays
on-continent = sur le continent
outside = à l’extérieur
work-here = Charges ici
and-more = et d’autres
this-one = vous êtes ici
link = Lien
link-live = Actif
col-gpus-free-now = GPU libres
col-out = Exécutions là-bas
col-guests = Exécutions de là-bas
hearsay = Ce que les autres usines disent d’elles-mêmes n’engage qu’elles. Elles décident à nouveau quand elles sont sollicitées.
