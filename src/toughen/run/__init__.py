"""A run's folder: what lies where, written so that a reader never meets half a file.

config.yaml          the complete configuration, to be given to `toughen train --config`
classes.json         the names of the classes, in the order of the model's logits
input.json           channels, height and width of the images that the network takes
data.json            how many images of each class and split there were, what was odd and what was left out
images.parquet       which image is for training and which for testing, where the run drew it; which were left out
metrics.csv          one row an epoch
events.json          what the guards of the training found and did; not there where nothing was
trace.csv            what --trace recorded of each epoch, a row an epoch
image_weights.parquet  what --trace weights recorded of single images, a row an epoch and image
checkpoints/last/    everything needed to go on (state.json + tensors.safetensors)
checkpoints/previous/  the one before it, which takes its place where it is damaged
pseudo_labels.safetensors  labels that another run gave to extra images
model.safetensors    the weights that are reported
manifest.json        checksums of the files beside it; pages and own.json hold theirs
before/              the evaluation of the network that the run started from, where that was trained already
evaluations/NAME/    one evaluation a folder, with the four files below; see `evaluation.records.evaluations`
verdicts.parquet     one row a test image: what each attack achieved; of the headline evaluation, like the next two
result.json          the evaluation's figures and its whole protocol
gallery.safetensors  a few clean and adversarial images for the report
report.html          all of it, in one file that opens offline
"""

from toughen.run.files import atomic
from toughen.run.folder import RunFolder
from toughen.run.manifest import EVALUATIONS

__all__ = ["EVALUATIONS", "RunFolder", "atomic"]
