"""gaoya: its index of strings over 5-grams of words; Chinese characters are put apart by spaces first."""

from driver import BANDS, ROWS, THRESHOLD, WORD, batches, report
from gaoya.minhash import MinHashStringIndex

index = MinHashStringIndex(
    hash_size=32,
    jaccard_threshold=THRESHOLD,
    num_bands=BANDS,
    band_size=ROWS,
    num_hashes=BANDS * ROWS,
    analyzer="word",
    lowercase=True,
    ngram_range=(5, 5),
)
keep: list[bool] = []
for texts in batches():
    spaced = [" ".join(WORD.findall(text)) for text in texts]
    begin = len(keep)
    index.par_bulk_insert_docs(list(range(begin, begin + len(spaced))), spaced)
    near = index.par_bulk_query(spaced)
    keep += [not any(other < begin + i for other in found) for i, found in enumerate(near)]
report(keep, "gaoya")
