"""Croissant 1.1 metadata with its Responsible AI vocabulary, for search engines and conferences.

Specification: docs.mlcommons.org/croissant. ``mlcroissant`` validates the file and can load the rows with it.
"""

from __future__ import annotations

import json
from typing import Any

from mminstruct.export import card
from mminstruct.export.card import CardFacts
from mminstruct.stages.export import TURN

_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "name": {"@container": "@language"}, "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
"""The standard context of version 1.1."""


VERSION = "1.0.0"
"""Version of a dataset that is exported for the first time; raise it in the file when you publish a change."""


def text(facts: CardFacts) -> str:
    """croissant.json of an export in the format hf."""
    made = f": {facts.made}" if facts.made else ""
    licences = sorted({name for found in facts.licences.values() for name in found})
    about = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.name,
        "description": f"{sum(facts.rows.values()):,} conversations for visual instruction tuning{made}.",
        "version": VERSION,
        "datePublished": facts.date,
        "license": licences,
        "keywords": ["visual instruction tuning", "LLaVA", *facts.tags],
        "inLanguage": "en",
        "citeAs": (not facts.mixture and facts.about.get("paper")) or f"{facts.name}, made with mminstruct",
        "isLiveDataset": False,
        "rai:dataCollection": "Images of "
        + ", ".join(sorted(facts.shares))
        + (f"; {facts.made}." if facts.made else "."),
        "rai:dataCollectionType": ["Existing datasets", *(["Synthetic data from models"] if facts.synthetic else [])],
        "rai:dataPreprocessingProtocol": [f"{s['table']}: {s['in']} in, {s['kept']} kept" for s in facts.funnel],
        "rai:dataAnnotationProtocol": [
            "Texts were written by models; no person annotated a row."
            if facts.synthetic
            else "As the cards of the sources say."
        ],
        "rai:annotationsPerItem": "One conversation a row.",
        "rai:machineAnnotationTools": [f"{stage}: {model}" for stage, model in facts.models.items()],
        "rai:dataUseCases": [card.USES],
        "rai:dataLimitations": [facts.limits],
        "rai:dataBiases": [card.BIASES],
        "rai:dataSocialImpact": card.IMPACT,
        "rai:personalSensitiveInformation": [card.PERSONAL],
        "rai:dataReleaseMaintenancePlan": card.UPKEEP,
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": "parquet",
                "description": {"en": "Rows in order, images inside."},
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "rows",
                "description": {"en": "One conversation a row."},
                "key": {"@id": "rows/pair_id"},
                "field": [_field(column, meaning) for column, meaning in card.COLUMNS.items()],
            }
        ],
    }
    about = {key: value for key, value in about.items() if value != []}
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _field(column: str, meaning: str) -> dict[str, Any]:
    made: dict[str, Any] = {"@type": "cr:Field", "@id": f"rows/{column}", "description": {"en": meaning}}
    if parts := {"conversations": {"from": "string", "value": "string"}, "turns": TURN}.get(column):
        return {**made, "subField": [_part(column, name, dtype) for name, dtype in parts.items()]}
    source: dict[str, Any] = {"fileSet": {"@id": "parquet"}, "extract": {"column": column}}
    if column == "image":
        return {**made, "dataType": "sc:ImageObject", "source": {**source, "transform": {"jsonPath": "bytes"}}}
    return {**made, "dataType": "sc:Text", "source": source}


def _part(column: str, name: str, dtype: str) -> dict[str, Any]:
    """One field of a column of structs, as a list."""
    source = {"fileSet": {"@id": "parquet"}, "extract": {"column": column}, "transform": {"jsonPath": name}}
    about = {"@type": "cr:Field", "@id": f"rows/{column}/{name}", "source": source}
    about["dataType"] = "sc:Text" if dtype == "string" else "sc:Integer"
    return {**about, "isArray": True, "arrayShape": "-1"}
