"""Analysis: scores, activations, saliency and originality.

`npchar.Model.score` returns the log-probability of each character of a text, in nats. A notebook
shows the score as a text coloured by surprise. `npchar.Model.activations` returns the gates and
cells after each character, and finds the cells that follow a feature (Karpathy et al. 2016).
`npchar.Model.saliency` and `npchar.gradient_flow` show how far back a prediction depends on the
text. `npchar.originality` finds the passages that a text copies from its corpus.
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
