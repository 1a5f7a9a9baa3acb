// Owns the precompiled torch/torch.h that the tests reuse.
