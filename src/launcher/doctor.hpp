// `shunt doctor`: what this machine and this user allow, link by link, with the remedy for what they do not.
#pragma once

namespace shunt::launcher {

// Prints to standard output; 0 if at least the shim is there, so that some link is possible, else 1.
int doctor();

}  // namespace shunt::launcher
