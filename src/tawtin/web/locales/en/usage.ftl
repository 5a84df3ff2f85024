### Usage and budget.

usage-statement = Statement of usage
usage-all-tenants = All tenants
usage-so-far = so far
usage-print = Print as a statement
usage-csv = Download (CSV)
usage-issued-by = Issued by { $factory }, { $country }
usage-issued-to = For { $tenant }
usage-issued-at = on { $when }, UTC
usage-no-invoice = A statement of usage before tax, not an invoice.
usage-month = Month
usage-cost-of-month = Cost of the month
usage-cost-parts = runs { $runs }, models { $models }
usage-budget-left = Budget left
usage-of-budget = of { $amount } this month
usage-of-budgets = { $count ->
    [one] of { $amount }, of one tenant that has a budget
   *[other] of { $amount }, of { $count } tenants that have a budget
}
usage-no-budget = no budget is set
usage-month-over = the month is over
usage-gpu-hours = GPU-hours
usage-cpu-hours = CPU-hours
usage-and-cpu-hours = and { $hours } CPU-hours
usage-runs = { $count ->
    [one] 1 run
   *[other] { $count } runs
}
usage-rate-of-gpu = of GPU time was used at home
usage-rate-of-cpu = of processor time was used at home; no GPU was used
usage-nothing-yet = Nothing has ended in this month.
usage-by-month = Cost by month
usage-before-tax = { $currency }, before tax
usage-kept-by-month = Accounts are kept by calendar month, UTC.
usage-where = Where it was used
usage-ring-gpu = GPU time
usage-ring-cpu = Processor time
usage-ring-bytes = Bytes in and out of runs
usage-ring-runs = Runs
usage-ring-tokens = Tokens of models
usage-by-tenant = By tenant
usage-of-runs = Runs
usage-of-models = Models
usage-left = Left
usage-total = Total
usage-how-counted = Runs count once they have ended, and requests for models once they are charged; what runs now is already taken off what is left of a budget.
usage-no-projects = Accounts do not know projects: a workload's page has its own cost.
usage-by-country = By country
usage-country = Country
usage-col-runs = Runs
usage-col-bytes = Data moved
usage-requests = Requests
usage-tokens = Tokens
usage-country-what = Where runs ended and requests were answered, where that is known. Costs are not kept by country.
usage-by-model = Tokens by model
usage-model = Model
usage-tokens-in = Tokens in
usage-tokens-out = Tokens out
usage-no-models = No request for a model was charged in this month.
usage-model-what = ≈: an estimate is in it, as a server did not say how many tokens there were.
