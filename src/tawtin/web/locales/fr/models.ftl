### Models, and the place to try them.

models-what = Servis par cette usine, derrière une adresse unique compatible avec l’API d’OpenAI.
models-none = Aucun modèle n’est servi ici
models-none-what = L’opérateur de l’usine en nomme dans { $file }, puis la redémarre. Ils apparaissent ici, avec leurs prix, leur usage et de quoi les essayer.
models-example = Exemple de { $file }
models-catalogue = Catalogue
models-model = Modèle
models-languages = Langues
models-licence = Licence
models-where = Lieu
models-nowhere = nulle part actuellement
models-origin = conçu dans le pays suivant : { $country }
models-external = dernier recours : { $provider }
models-context = Contexte, jetons
models-price-in = Million de jetons en entrée
models-price-out = Million de jetons en sortie
models-requests = Requêtes
models-tokens = Jetons
models-not-served = n’est plus servi
models-used-in = Usage de { $month }, y compris ce qui n’est pas encore imputé :
models-all-tenants = tous les locataires.
models-own = votre locataire.
models-ledger-away = L’usage n’est pas connu actuellement : le registre de la passerelle ne répond pas.
models-try = Essayer
models-try-what = demandé avec votre clé, à votre prix
models-try-note = La classe des données décide où la réponse peut être produite. Cette page n’en conserve rien.
models-class = Classe des données
models-prompt = Invite
models-tokens-max = Jetons de la réponse, au plus
models-ask = Envoyer
models-stop = Arrêter
models-answer = Réponse
models-wait = En attente de la réponse.
models-cut = La réponse s’est interrompue ici.
models-may-not = Votre rôle ne permet pas d’interroger les modèles : demandez celui de membre pour les essayer.
models-answered-in = Réponse produite en
models-answered-by = Réponse produite par
models-how = Demander depuis votre programme
models-how-what = Avec une de vos clés dans TAWTIN_KEY ; le client openai n’a besoin de rien d’autre.
models-address = Adresse
models-workers = Processus
models-replicas = Serveurs de modèles
models-replica = Serveur
models-open = En cours
models-answered = Répondues
models-failures = Échecs
models-hedges = Doublées
models-asked = sollicité
models-untold = pas encore signalé
models-shut = { $count ->
    [one] écarté par { $count } processus
    [many] écarté par { $count } de processus
   *[other] écarté par { $count } processus
}
models-no-replicas = Aucun serveur de modèle n’est présent actuellement.
models-replicas-what = Compté depuis le démarrage des processus de la passerelle.
