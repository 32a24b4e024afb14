"""Analysis: how well a model predicts, what its cells do, what it copied.

`npchar.Model.score` has the log-probability of each character of a text, in nats, and shows the
text coloured by surprise; `npchar.Model.activations` has every gate and cell after each
character, and finds the cells that follow a feature (Karpathy et al. 2016);
`npchar.Model.saliency` and `npchar.gradient_flow` show how far back a prediction depends on the
text; `npchar.originality` what a text has word for word from its corpus.
`npchar.Model.to_html` writes a page that runs a model in a browser.

>>> model = npchar.Model.pretrained("nietzsche")
>>> model.score("the will xo power").most_surprising(1)[0].character
'x'
>>> model.activations("the soul").c.shape  # T characters, layers, H units
(8, 1, 300)
>>> npchar.originality("the will to powder", "the will to power").longest
0
"""

__all__ = ["scoring", "activations", "originality", "plots"]  # noqa: RUF022  (in the order of reading)
