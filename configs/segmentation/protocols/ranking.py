"""Rank backbones by a short training of the FCN on ADE20K: 8 epochs, a fifteenth of those of he2019, and all else as there.

Published nowhere and never run: whether it ranks backbones as a long training does is not known. Repeat a close call by he2019.
"""

protocol = dict(name="ranking", base="he2019", source="chosen here, after he2019", chosen="all", length=dict(epochs=8))
