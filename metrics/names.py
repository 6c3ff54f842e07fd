"""Names of metrics, and what scores are made with unless said otherwise, for options of commands: without torch."""

# How many videos each metric takes in the paper, or for a number that is certain enough.
PAPER_VIDEOS = {
    "fvd": 5000,
    "kvd": 5000,
    "id": 1000,
    "id-dlib": 1000,
    "cd": 1000,
    "we": 1000,
    "pose": 256,
    "pose-side": 256,
    "depth": 256,
    "background": 256,
    "diversity": 256,
    "motion": 256,
    "motion-share": 64,
}
PUBLIC = "public"  # the detectors' weights that papers use
DETECTOR_WEIGHTS = (PUBLIC, "random")  # fixed random ones are for smoke tests
SEED = 0  # of codes, cameras and times
BATCH = 2  # videos at a time through a detector
