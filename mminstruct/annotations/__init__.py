"""Annotations of images by people: the formats in which published sets come, each read as a stream of records."""
