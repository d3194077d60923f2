"""Convert the weights files of other libraries to cards, and cards to such files."""

__all__ = [
    "checkpoint_files",
    "efficientnet",
    "exporter",
    "facts",
    "imported",
    "importer",
    "key_maps",
    "libraries",
    "old_formats",
    "reference_networks",
    "search",
    "sources",
]
