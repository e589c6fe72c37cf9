"""Try both libraries in one program: score holds, and trace it."""

import rvh_trace
from poh_holdmetrics import score

rvh_trace.init_tracing(service_name="lab", exporter="memory")

with rvh_trace.span("score", holders=2):
    scores = score(
        [
            {"token_id": "punk-7", "holder_id": "alice", "start": 0, "end": 60},
            {"token_id": "punk-7", "holder_id": "bob", "start": 60, "weight": "2.5"},
        ],
        at=100,
    )

for row in scores.to_pylist():
    print(row["holder_id"], row["weighted_score_exact"])
print("spans:", *(span.name for span in rvh_trace.finished_spans()))
