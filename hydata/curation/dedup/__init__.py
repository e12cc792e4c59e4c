"""Duplicates: exact and fuzzy clusters of one snapshot, and which record of each to keep.

*Exact* duplicates have the same text after NFKC, lower case and folding of white space. *Fuzzy* ones have
sets of shingles (5 words in a row) with a Jaccard similarity of at least the threshold, 0.8 by default
(Broder 1997; for training data Lee et al. 2022). MinHash signatures in bands propose pairs, and
every pair is verified on the shingle sets themselves, so a false find is impossible up to collisions of a
32-bit hash; a pair at the threshold itself is missed with probability 0.002. In a bucket of more than 64
texts, of one template mostly, pairs are found by their rarest shingles; missed are some of those that share
only such as more than 64 texts have (docs/decisions/0008-duplicates.md).

A *cluster* is a connected component of verified pairs. Inside it a pass in a fixed order (already
admitted, then the longer text, then the id) keeps a record unless it is a duplicate of one kept before it.
So every dropped record is within the threshold of its ``duplicate_of``, which is kept, and a chain of ever
less similar texts does not collapse into its first. Already admitted records are always kept.

======================  ==================================================================
``characters``          code point -> normal form and class
``kernels``             the compiled loops
``shingles``            texts -> hashes, sets of shingles
``minhash``             shingle sets -> datasketch's signatures -> band keys -> pairs
``prefixes``            large buckets -> more pairs
``signed``              what is known of many texts, in memory or partly on disk
``signatures``          the same, stored: a map stage and its table
``clusters``            verified pairs -> components, leaders
``judge``, ``alone``    the global stage; the same on files
``near``                what a lower threshold would drop; in what two texts differ
======================  ==================================================================

The result depends on the set of records only, not on their order or their spread over shards.
"""

from hydata.curation.dedup.judge import COLUMNS, DuplicatesSettings, judge_signed, stage

__all__ = ["COLUMNS", "DuplicatesSettings", "judge_signed", "stage"]
