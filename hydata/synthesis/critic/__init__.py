"""The critic beside its stage: how far it can be trusted, and what a better one is trained on.

``labelled`` reads what humans said of answers, ``evaluate`` asks the critic about the same ones and probes
its biases, ``statistics`` compares the two, ``calibration`` finds the cut-offs by which its scores agree
best and applies them. ``alone`` judges the rows of files; ``training`` exports judgements to train a critic
on.
"""
