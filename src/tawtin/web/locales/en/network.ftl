### The network.

network-what = { $count ->
    [one] One factory, { $factory }, which knows no others yet.
   *[other] { $count } factories as { $factory } sees them. A figure from another factory is its own signed word.
}
map-title = Map of the factories
map-table = The same as a table
cut = Cut
cut-link = The link { $here } – { $there } is cut.
cut-since = Nothing was heard for { $span }.
cut-what = Both go on by themselves, and nothing is started twice.
cut-runs = { $count ->
    [one] One run goes on at { $there }; its home waits for it.
   *[other] { $count } runs go on at { $there }; their home waits for them.
}
cut-see = What runs
runs-out = { $count ->
    [one] 1 run there
   *[other] { $count } runs there
}
runs-in = { $count ->
    [one] 1 run from there
   *[other] { $count } runs from there
}
not-heard = not heard
not-said = has not said
gpus-used = GPUs in use
gpus-of = { $used } of { $total } GPUs
gpus-free = { $count ->
    [one] 1 GPU free
   *[other] { $count } GPUs free
}
legend-link = link, with its round trip
legend-flow = roamed work
legend-cut = cut link
legend-star = factory; blue: the one you are at
localisation = Localisation rate
localisation-of-gpus = GPU time, { $month }
localisation-of-cpus = processor time, { $month }
localisation-none = Nothing has ended this month yet.
at-home = at home
on-continent = on the continent
outside = outside
work-here = Work
and-more = and more
this-one = you are here
link = Link
link-live = Live
col-gpus-free-now = GPUs free
col-out = Runs there
col-guests = Runs from there
hearsay = What other factories say of themselves is their own word. They decide again when they are asked.
