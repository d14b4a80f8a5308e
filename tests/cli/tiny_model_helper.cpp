// The engine tests' models, for the tests of this folder that need one in a file.
#include "engine/tiny_model_helper.cpp"
