// Nodes of one type from pages of our own: the shim must not call the program's malloc from calls that may come out of it.
// A node given back may be reused, but stays memory of its type for ever. Not thread-safe: use it under the lock.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

#include "base/sys.hpp"

namespace shunt::preload {

template <class T>
class Slab {
public:
    // Null without memory.
    T* create() noexcept {
        if (free_ == nullptr && !grow()) {
            return nullptr;
        }
        Node* node = free_;
        free_ = node->next;
        return new (node) T;
    }
    void destroy(T* item) noexcept {
        item->~T();
        auto* node = reinterpret_cast<Node*>(item);
        node->next = free_;
        free_ = node;
    }

private:
    union Node {
        Node* next;
        alignas(T) std::byte room[sizeof(T)];
    };
    static constexpr std::size_t chunk_bytes = 64 * 1024;

    bool grow() noexcept {
        const long address = sys::call(SYS_mmap, 0, chunk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address < 0) {
            return false;
        }
        auto* nodes = reinterpret_cast<Node*>(address);
        for (std::size_t i = chunk_bytes / sizeof(Node); i-- > 0;) {
            nodes[i].next = free_;
            free_ = &nodes[i];
        }
        return true;
    }

    Node* free_ = nullptr;
};

}  // namespace shunt::preload
