"""rensa: its deduplicator with an index, over R-MinHash of the shingles."""

from driver import THRESHOLD, batches, report, shingles
from rensa import RMinHashDeduplicator

dedup = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=128, use_lsh=True)
keep: list[bool] = []
for texts in batches():
    begin = len(keep)
    keep += dedup.add_pairs((str(begin + i), shingles(text)) for i, text in enumerate(texts))
report(keep, "rensa")
