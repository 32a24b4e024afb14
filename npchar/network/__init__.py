"""A network: a stack of layers and an output layer, on one vector of parameters.

``network`` runs the layers as one function, from ids to logits, a loss and its gradients.
``registry`` lists the plain and fast layers by name. ``gradcheck`` compares gradients with
numerical derivatives (`npchar.check_gradients`).

>>> from npchar.network.network import Network, NetworkConfig
>>> network = Network(NetworkConfig(vocabulary_size=5, hidden_size=3, num_layers=2, dropout=0.0))
>>> network.initialise(seed=0)
>>> logits, states = network.logits(np.array([[0], [4], [2]]))
>>> logits.shape
(3, 1, 5)
"""

__all__ = ["gradcheck"]
