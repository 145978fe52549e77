// A fixed number of T in one piece of memory that the caller provides. Slots are touched only when first used, so a pool may be
// reserved at its limit and cost nothing until then. Not thread-safe: the stack's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "base/check.hpp"

namespace shunt {

template <class T>
class Pool {
public:
    Pool() noexcept = default;
    Pool(void* memory, std::uint32_t capacity) noexcept : slots_(static_cast<Slot*>(memory)), capacity_(capacity) {}

    static constexpr std::size_t bytes_for(std::uint32_t capacity) noexcept { return sizeof(Slot) * capacity; }
    static constexpr std::size_t alignment = alignof(T) < 64 ? 64 : alignof(T);

    // Null when every slot is in use.
    template <class... Args>
    T* try_create(Args&&... args) noexcept {
        Slot* slot = free_;
        if (slot != nullptr) {
            free_ = slot->next;
        } else if (touched_ < capacity_) {
            slot = &slots_[touched_++];
        } else {
            return nullptr;
        }
        ++used_;
        return new (slot->storage) T(std::forward<Args>(args)...);
    }
    void destroy(T* object) noexcept {
        SHUNT_CHECK(contains(object));
        object->~T();
        Slot* slot = reinterpret_cast<Slot*>(object);
        slot->next = free_;
        free_ = slot;
        --used_;
    }

    // After a death in the middle of a change: every slot that was ever used and is not `live` is free. Slots keep their places.
    template <class IsLive>
    void relink(IsLive live) noexcept {
        touched_ = touched_ < capacity_ ? touched_ : capacity_;
        free_ = nullptr;
        used_ = 0;
        for (std::uint32_t i = touched_; i-- > 0;) {
            if (live(at(i))) {
                ++used_;
            } else {
                slots_[i].next = free_;
                free_ = &slots_[i];
            }
        }
    }

    std::uint32_t capacity() const noexcept { return capacity_; }
    std::uint32_t used() const noexcept { return used_; }
    std::uint32_t touched() const noexcept { return touched_; }  // slots from here on have never been used
    T& at(std::uint32_t index) noexcept { return *std::launder(reinterpret_cast<T*>(slots_[index].storage)); }  // in use, or T says by itself that it is not
    // Whether `object`, read from memory that may be half written, is a slot.
    bool has_slot(const T* object) const noexcept {
        const auto offset = reinterpret_cast<std::uintptr_t>(object) - reinterpret_cast<std::uintptr_t>(slots_);
        return contains(object) && offset % sizeof(Slot) == 0;
    }
    bool contains(const T* object) const noexcept {
        const Slot* slot = reinterpret_cast<const Slot*>(object);
        return slot >= slots_ && slot < slots_ + touched_;
    }
    std::uint32_t index_of(const T* object) const noexcept {
        return static_cast<std::uint32_t>(reinterpret_cast<const Slot*>(object) - slots_);
    }

private:
    union Slot {
        Slot* next;
        alignas(T) std::byte storage[sizeof(T)];
    };
    Slot* slots_ = nullptr;
    Slot* free_ = nullptr;
    std::uint32_t capacity_ = 0;
    std::uint32_t touched_ = 0;
    std::uint32_t used_ = 0;
};

}  // namespace shunt
