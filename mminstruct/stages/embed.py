"""Text embeddings of the raw instructions, for clustering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, part, role


@dataclass(kw_only=True)
class Embed(Stage):
    """One embedding per distinct instruction of a part; another part may have the same instruction."""

    model: Model = role("embedder")

    kind = "encoder"
    reads = {"instruct": part("instruction_id", "instruction")}
    writes = schemas.EMBED
    row_key = "instruction_id"
    call_tokens = Tokens(input=20)  # assumed: an instruction of 15 words

    def load(self) -> Transform:
        encoder = self.model.embed()

        def embed(instruct: pa.Table) -> StageOutput:
            ids, texts = (instruct[name].to_pylist() for name in ("instruction_id", "instruction"))
            texts_of = dict(zip(reversed(ids), reversed(texts), strict=True))  # of equal ids, keep the first wording
            distinct = list(dict.fromkeys(ids))
            if not distinct:
                return StageOutput(self.writes.empty_table(), [])
            vectors_ND = np.asarray(encoder.texts([texts_of[key] for key in distinct]), np.float32)
            norms_N = np.linalg.norm(vectors_ND, axis=1)
            good_N = np.isfinite(norms_N) & (norms_N > 0)
            drops = [
                Drop(key, "bad_embedding", f"norm {norm}")
                for key, norm, good in zip(distinct, norms_N, good_N, strict=True)
                if not good
            ]
            kept = [key for key, good in zip(distinct, good_N, strict=True) if good]
            unit_ND = vectors_ND[good_N] / norms_N[good_N, None]
            offsets = np.arange(len(kept) + 1, dtype=np.int32) * unit_ND.shape[1]
            embeddings = pa.ListArray.from_arrays(offsets, pa.array(unit_ND.ravel()))
            return StageOutput(pa.table([pa.array(kept, pa.string()), embeddings], schema=self.writes), drops)

        return embed
