// Ctrl-C and termination as a flag that long work looks at between its steps.
#pragma once

namespace kinglet {

/// True once SIGINT or SIGTERM came. Work that sees it stops at its next safe point and returns kCancelled. A program
/// that nobody stops this way within a second of the signal ends by itself; a second signal ends it at once.
bool interrupted();

/// The signal that came, 0 if none.
int interrupt_signal();

/// Forgets the signal: for work that the user stopped and a program that goes on (chat).
void clear_interrupt();

/// Whether a program that does not look at the flag within a second is ended (at the start: yes). A conversation
/// outlives its answers and says no.
void end_when_unheard(bool ends);

/// Makes SIGINT and SIGTERM set the flag and SIGPIPE harmless. Called once by the program; the library never does.
void install_signal_handlers();

}  // namespace kinglet
