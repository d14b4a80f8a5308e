#include "cli/command.h"

int main(int argc, char** argv) { return kinglet::run_program(argc, argv); }
