"""Follow the paper's detection: GluonCV's code of the time with a "linear warmup and long training schedule".

Table 8 reports 77.54 (B-standard) to 81.33 (+ distill w/ mixup), single runs. The paper gives no numbers for the schedule;
``chosen`` names the values that it does not state.
"""

protocol = dict(
    name="he2019",
    base="gluoncv2018",
    source="arXiv 1812.01187 section 6.1; values that it does not give as in gluoncv2018, or chosen here",
    chosen=("length", "steps", "warmup", "warmup_start"),
    length=dict(epochs=40),
    warmup=1000,
    warmup_start=1 / 3,  # as in GluonCV's schedule for COCO
)
