"""A network of factories in virtual time: real state machines, a bad network, an auditor that believes nobody."""

from tawtin.runtime.simulate.network.auditor import Broken, Predicate
from tawtin.runtime.simulate.network.history import NetworkFailed, NetworkHistory, simulate_network
from tawtin.runtime.simulate.network.quiet import Quiet

__all__ = ["Broken", "NetworkFailed", "NetworkHistory", "Predicate", "Quiet", "simulate_network"]
