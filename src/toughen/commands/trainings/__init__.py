"""What a call of `train` goes through: its settings, checked; the images, the network and the trainer; the run."""
