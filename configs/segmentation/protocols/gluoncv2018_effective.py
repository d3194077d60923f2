"""Follow gluoncv2018 with the learning rate and the auxiliary weight as they act in that code.

The file gluoncv2018.py explains the difference, which was derived from the code, not run.
"""

protocol = dict(
    name="gluoncv2018_effective",
    base="gluoncv2018",
    source="dmlc/gluon-cv c1e45abc: scripts/segmentation/train.py, gluoncv/model_zoo/{fcn,segbase}.py, gluoncv/data/segbase.py",
    chosen=("test_image_scale", "inference"),  # values that the source does not give: it tests at several scales
    aux_weight=1.0,
    lr=0.0025,
)
