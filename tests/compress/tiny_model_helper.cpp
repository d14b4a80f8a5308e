// The engine tests' models, for the tests of this folder that need a real forward pass.
#include "engine/tiny_model_helper.cpp"
