// The valid objects of an image, and what a box is to them.
#pragma once
#include "device/prelude.cuh"
#include "boxes.cuh"

struct Objects {
    const float* boxes;
    // Negative: a crowd, which is no object.
    const int* classes;
    int count;

    // The largest overlap of `b` with an object (ties: the first) and that object.
    __device__ __forceinline__ float nearest(Box b, int* object) const {
        float best = 0.0f;
        *object = 0;
        for (int i = 0; i < count; ++i) {
            if (classes[i] < 0) continue;
            const float overlap = iou(b, load_box(boxes, i));
            if (overlap > best) best = overlap, *object = i;
        }
        return best;
    }

    __device__ __forceinline__ bool in_crowd(Box b) const {
        // A proposal that overlaps a crowd by this much is no negative.
        const float crowd_iou = 0.001f;
        for (int i = 0; i < count; ++i) {
            if (classes[i] < 0 && iou(b, load_box(boxes, i)) >= crowd_iou) return true;
        }
        return false;
    }
};

__device__ __forceinline__ int limited(int count, int most) {
    return min(max(count, 0), most);
}
