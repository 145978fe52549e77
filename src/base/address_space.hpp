// What a process has mapped, so that one that was cloned from a program can let go of the program's memory and keep its own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace shunt {

struct AddressRange {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
};

// All that is mapped now but the loaded objects' segments (code, data, what is zero at first) and the kernel's own pages, by whole pages and
// ascending. Empty where /proc cannot be read.
std::vector<AddressRange> mapped_by_program();

// In another process, without a heap. What is not mapped there is skipped.
void unmap(std::span<const AddressRange> ranges) noexcept;

}  // namespace shunt
