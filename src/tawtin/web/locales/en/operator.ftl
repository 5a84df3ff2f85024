### For those who operate the factory.

operator-what = What { $factory } has, who holds it, who waits, and who its peers are.
act = Act
alarm = A peer needs a look.
store-restored = The store was put back from a backup.
store-silent = Nothing goes to peers until all have said what they know. Not heard yet:
store-was-restored = The store was put back from a backup at { $when }.
not-isolated = Runs are not sandboxed here: only the factory's own tenant may run work.

nodes = Nodes
node = Node
nodes-none = No node yet
nodes-none-what = An engine reports its machines by itself, once it is set up in factory.toml.
nodes-more = { $count ->
    [one] One more node is not shown; those that need a look come first.
   *[other] { $count } more nodes are not shown; those that need a look come first.
}
health = Health
health-ready = Ready
health-draining = Draining
health-sick = Sick
health-gone = Gone
declared = declared GPUs, not real ones
gpus-free-of = { $free } of { $total } GPUs free
cpus-free = CPUs free
memory-free = Memory free
cpus = { $count ->
    [one] 1 CPU
   *[other] { $count } CPUs
}
runs-more = { $count ->
    [one] 1 more
   *[other] { $count } more
}
runs-none = Nothing runs here.
out-of-service = Out of service
out-count = { $count ->
    [one] 1 quarantine
   *[other] { $count } quarantines
}
out-since = since { $when }
out-by = by { $key }
out-tried = { $count ->
    [one] 1 burn-in not passed
   *[other] { $count } burn-ins not passed
}
out-trial = is being tried
whole-node = whole node
fault-xid = error of the driver
fault-ecc = memory errors
fault-row_remap = memory to be repaired
fault-temperature = too hot
fault-throttled = slowed down
fault-nvlink = links down
fault-lost = lost
fault-burn_in = burn-in not passed
fault-operator = taken out
drain = Drain
drain-ask = What runs here is ended, after its checkpoint signal, and tried elsewhere; nothing new starts.
drain-sure = Drain it
undrain = Bring back
undrain-ask = New runs may start here again.
undrain-sure = Bring it back
gpus = GPUs
index = Number
run = Run
gpu-number = GPU { $number }
gpu-out = Quarantine
gpu-held = In use
gpu-withheld = Withheld
gpu-free = Free
quarantine = Quarantine
quarantine-what = What is chosen is given to nobody until it is returned.
quarantine-ask = Runs that hold it are ended, after their checkpoint signal, and tried again.
quarantine-sure = Put it into quarantine
return = Return
return-what = All of it, where nothing is chosen
return-ask = It goes back into service.
return-sure = Return it
untested = at once, without its burn-in job
no-burn-in = There is no burn-in job: burn_in.script in factory.toml sets one.

queue = Queue
queue-none = Nothing waits.
waiting = Waiting
not-explained = not looked up

tenants = Tenants
tenants-none = No tenant is called so.
tenants-more = { $count ->
    [one] One more is not shown: search for it.
   *[other] { $count } more are not shown: search for them.
}
tenant-open = Open
tenant-closed = Closed
tenant-owner = Owner
held-gpus = GPUs held
held-cpus = CPUs held
held-runs = Runs
held-workloads = Unfinished
spent-in = Spent in { $month }
of-budget = of { $amount }
quota = Quota
quota-weight = Weight
quota-note = Held / allowed at one time. ∞ is no limit.
quota-help = An empty field is no limit; weight and priority need a number.
quota-set = Change the quota
limit-gpus = GPUs
limit-cpus_milli = CPUs
limit-memory_mib = Memory, MiB
limit-runs = Runs at one time
limit-workloads = Unfinished workloads
limit-weight = Weight
limit-priority_max = Highest priority
limit-budget_minor_per_month = Budget a month, { $currency }

keys = Keys
keys-none = No key yet.
key-new = New key
key-issue = Issue a key
key-issued = A key was issued
key-once = It is shown now and never again: keep it before you leave this page.
key-kept = It is kept
key-valid = Valid
key-expired = Expired
key-revoked = Revoked
scope = May
issued = Issued
expires = Expires
never = never
days-valid = Valid for days
days-help = Empty: until it is revoked.
revoke = Revoke
revoke-ask = Whoever uses it is out at once, and for good.
revoke-sure = Revoke it

peers = Peers
peers-none = This factory knows no others yet.
peer-invited = Invited
peer-active = Active
peer-leaving = Leaving
peer-left = Left
peer-revoked = Revoked
last-heard = Last heard
ago = { $span } ago
lent = Lent to it
hours = { $hours } UTC
offered = It offers
nothing = nothing

events = Events
events-all = All events
events-what = Newest first, as they stand in the log of the factory. Details are words of the log itself.
entry = Entry
at = Time
event = Event
about = About
detail = Detail
by = By key
event-TenantPut = Tenant changed
event-KeyPut = Key changed
event-NodePut = Node reported
event-NodeRemoved = Node left
event-QuarantinePut = Quarantine changed
event-SubmissionRefused = Submission refused
event-WorkloadsSubmitted = Submission accepted
event-CancelAsked = End asked for
event-ReplicaRested = Replica rests or wakes
event-WorkspaceShared = Workspace shared or not
event-ServiceScaled = Service scaled
event-RunPlaced = Run placed
event-RunStarted = Run started
event-RunMetered = Run metered
event-StopOrdered = Stop ordered
event-RunEnded = Run ended
event-ArtifactKept = Artifact kept
event-ArtifactDropped = Artifact dropped
event-FilesCrossed = Files crossed a border
event-TokensCharged = Tokens charged
event-VerdictsLapsed = Verdicts lapsed
event-RunFenced = Late result put aside
event-GuestPut = Guest changed
event-GuestFilesDropped = Files of a guest dropped
event-GuestFilesGone = Files of a guest gone
event-PeerPut = Peer changed
event-StoreRestored = Store restored
event-RecallWaived = Peer not waited for
event-EpochsRaised = Epochs raised
