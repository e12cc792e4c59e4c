"""Semantic duplicates: instructions that ask the same in other words, or in another language.

An *encoder* turns an instruction into a vector of length 1; two instructions are *similar* by the cosine of
theirs. Three encoders are known (``encoders``): static vectors, an average over the text's tokens, fast
enough for millions of texts on a laptop; a small multilingual model in this process; and any
OpenAI-compatible embeddings endpoint. Vectors are made once, by a map stage, and stored in the table
``embeddings``, so that a night's new records are embedded and the old ones are not.

Two instructions are duplicates from a threshold on, whatever their languages (one for each label, where the
recipe has them), unless each has a number that the other lacks: "what is 3 + 4?" and "what is 3 + 5?" are as
alike as two texts can be. Across languages vectors lie further apart, and how far depends on the text; there
the margin decides as well, the cosine over the mean cosine with both sides' nearest neighbours (Artetxe and
Schwenk, ACL 2019). Within a cluster a record is kept unless it is a duplicate of one kept before it, as
among fuzzy duplicates (``hydata.curation.dedup``); what those have dropped is not looked at any more.

===============  =============================================================
``encoders``     texts -> vectors, in this process
``embeddings``   conversations -> the table ``embeddings``: a map stage
``neighbours``   vectors -> similar pairs
``judge``        similar pairs -> clusters, leaders: a global stage
``alone``        the same on files
===============  =============================================================

Pairs are looked for among neighbouring cells of a k-means clustering, so some are missed; those that are
found are compared by their vectors themselves, which are exact to three digits.
"""
