"""Make a study of a person's own backbones: read what is compared, make the cards, and write the study's file."""

__all__ = ["backbones", "rows", "setting", "study_file"]
