"""scikit-learn's IsolationForest on tables of 32-bit numbers: FILE COLUMNS TREES SAMPLES CONTAMINATION ROWS:RUNS...

Prints, for each ROWS, the least time of RUNS fits with the scores of all rows, in seconds, as JSON.
"""

import json
import sys
import time

import numpy
import sklearn
from sklearn.ensemble import IsolationForest

path, columns, trees, samples, contamination = sys.argv[1:6]
table = numpy.fromfile(path, dtype="<f4").reshape(-1, int(columns))
best = {}
for size in sys.argv[6:]:
    rows, runs = map(int, size.split(":"))
    part = numpy.ascontiguousarray(table[:rows])
    times = []
    for seed in range(runs):
        forest = IsolationForest(
            n_estimators=int(trees),
            max_samples=int(samples),
            contamination=float(contamination),
            random_state=seed,
        )
        begun = time.perf_counter()
        forest.fit(part)
        forest.score_samples(part)
        times.append(time.perf_counter() - begun)
    best[rows] = min(times)
print(json.dumps({"version": sklearn.__version__, "seconds": best}))
