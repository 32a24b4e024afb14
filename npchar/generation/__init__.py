"""Generation: a prompt, then one character at a time.

The network runs over the prompt (the *prefill*); its last logits become a distribution, a
temperature sharpens or flattens that, one id is drawn, and it is the next input. At temperature 1
the distribution is unchanged, at 0 the most probable character always follows.

>>> p = [0.2, 0.5, 0.3]
>>> npchar.reweight_distribution(p, temperature=0.5).round(3)  # p², normalised
array([0.105, 0.658, 0.237])
>>> npchar.sample(p, temperature=0)
1

`npchar.Model.generate` and `npchar.Model.stream` do it for text. `npchar.entropy` measures how
uncertain a distribution is, `npchar.Model.entropies` what temperature does to a model's.
"""

__all__ = ["sampling"]
