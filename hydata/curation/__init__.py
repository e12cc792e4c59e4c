"""Judgements of text: what is measured about every record, never what is done about it.

A judge reads a frame of ``hydata.schema.CONVERSATIONS`` and returns a frame of its own: the columns of
``JUDGEMENT_KEY``, then its measures, one row a record. It never edits or drops a record, and it sets
no threshold: the policy does both, so that a threshold can change without measuring again.

===========  =========================  ==================================================
judge        module                     what it says
===========  =========================  ==================================================
rules        ``curation.rules``         counts and shares, one file a family of rules
language     ``curation.language``      fastText's language of instruction and response
duplicates   ``curation.dedup``         exact and fuzzy clusters, and which record to keep
classifier   ``curation.classifier``    taxonomy labels, learnt from the model's labels
===========  =========================  ==================================================

``curation.reading`` is the compiled pass in which the rules are counted.

``curation.balance`` is no judge: it chooses, from records that were kept, as many of each label as
the target shares allow.
"""
