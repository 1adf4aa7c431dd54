"""The arithmetic of the analyses: tensors in, numbers out; no network, no device, no file."""
