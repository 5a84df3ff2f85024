### Models, and the place to try them.

models-what = Served by this factory, behind one address that speaks OpenAI's API.
models-none = No models are served here
models-none-what = Whoever operates the factory names some in { $file } and starts it again. They appear here, with prices, use and a place to try them.
models-example = Example of { $file }
models-catalogue = Catalogue
models-model = Model
models-languages = Languages
models-licence = Licence
models-where = Where
models-nowhere = nowhere now
models-origin = made in { $country }
models-external = last resort: { $provider }
models-context = Context, tokens
models-price-in = Million tokens in
models-price-out = Million tokens out
models-requests = Requests
models-tokens = Tokens
models-not-served = not served any more
models-used-in = Used in { $month }, with what is not charged yet:
models-all-tenants = all tenants.
models-own = your tenant.
models-ledger-away = What was used is not known now: the gateway's ledger does not answer.
models-try = Try one
models-try-what = asked with your key, at your price
models-try-note = The class of the data decides where it may be answered. Nothing of it is kept on this page.
models-class = Class of the data
models-prompt = Prompt
models-tokens-max = Tokens of the answer, at most
models-ask = Ask
models-stop = Stop
models-answer = Answer
models-wait = Waits for the answer.
models-cut = The answer broke off here.
models-may-not = With your role nothing is asked of models: ask for that of a member to try them.
models-answered-in = Answered in
models-answered-by = Answered by
models-how = Ask from your program
models-how-what = With a key of yours in TAWTIN_KEY; the openai client needs nothing else.
models-address = Address
models-workers = Workers
models-replicas = Servers of models
models-replica = Server
models-open = Open now
models-answered = Answered
models-failures = Failed tries
models-hedges = Asked as well
models-asked = is asked
models-untold = not heard of yet
models-shut = { $count ->
    [one] left alone by 1 worker
   *[other] left alone by { $count } workers
}
models-no-replicas = No server of a model is there now.
models-replicas-what = Counted since the gateway's workers started.
