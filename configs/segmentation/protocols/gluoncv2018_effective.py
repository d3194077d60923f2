"""Follow gluoncv2018 with the learning rate and the auxiliary weight as they act in that code.

The file gluoncv2018.py explains the difference, which was derived from the code, not run.
"""

protocol = dict(
    name="gluoncv2018_effective",
    base="gluoncv2018",
    source="dmlc/gluon-cv c1e45abc: scripts/segmentation/train.py, gluoncv/model_zoo/{fcn,segbase}.py, gluoncv/data/segbase.py",
    chosen=dict(  # values that the source does not give, or that differ here: what and why
        image_scale="as in gluoncv2018",
        test_image_scale="as in gluoncv2018",
        inference="as in gluoncv2018",
        resampling="as in gluoncv2018",
        aux_weight="0.5 in the source, whose losses ignore it",
        lr="0.01 in the source, which sums the means of four GPUs and divides by the batch of 16",
    ),
    aux_weight=1.0,
    lr=0.0025,
)
