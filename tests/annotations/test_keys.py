"""One key for each photograph, whatever folder, archive or set names it."""

import pytest

from mminstruct.annotations.keys import image_key

KEYS = {
    "COCO_train2014_000000000009.jpg": "coco:9",
    "val2017/000000000139.jpg": "coco:139",
    "COCO_test2015_000000000001": "coco:1",
    "s/coco-text/COCO_val2014_000000581929.jpg": "coco:581929",
    "9.jpg": "coco:9",
    "000000000000.png": "coco:0",
    "VG_100K/2.jpg": "vg:2",
    "images/VG_100K_2/2410408.jpg": "vg:2410408",
    "VG_100K_2/COCO_val2014_000000000042.jpg": "coco:42",
    "VG_100K_3/2.jpg": "coco:2",
    "photos/china.jpg": "stem:china",
    "a.b.jpg": "stem:a.b",
    "no_ending": "stem:no_ending",
    "COCO_train1914_000000000009.jpg": "stem:COCO_train1914_000000000009",
    "COCO_train2014_9_crop.jpg": "stem:COCO_train2014_9_crop",
    "\u0661.jpg": "stem:\u0661",
    "cafe\u0301.jpg": "stem:caf\u00e9",
    ".jpg": "stem:.jpg",
    "": "stem:",
}


@pytest.mark.parametrize(("path", "key"), KEYS.items())
def test_a_name_has_the_key_of_its_photograph(path: str, key: str) -> None:
    assert image_key(path) == key
