"""datasketch: a document is dropped if the index has a kept one whose estimate reaches the threshold."""

import xxhash
from datasketch import MinHash, MinHashLSH
from driver import BANDS, ROWS, THRESHOLD, batches, report, shingles

PERMUTATIONS = BANDS * ROWS
index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
sketches: dict[int, MinHash] = {}
keep: list[bool] = []
for texts in batches():
    tokens = [[shingle.encode() for shingle in shingles(text)] for text in texts]
    made = MinHash.bulk(tokens, num_perm=PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest, scheme="affine32")
    for sketch in made:
        number = len(keep)
        near = any(sketches[other].jaccard(sketch) >= THRESHOLD - 0.1 for other in index.query(sketch))
        keep.append(not near)
        if not near:
            sketches[number] = sketch
            index.insert(number, sketch, check_duplication=False)
report(keep, "datasketch")
