"""Which of Face Mesh's 468 points stand for the 68 landmarks of iBUG 300-W.

Chosen by what the points are (corners of eyes and mouth, ridge and wings of the nose, brows, lips) in the published map
of the mesh. On 57 frames of 18 people at 512 they are 9 pixels rms from dlib's, most of it along brows and lids: each
kind has a head model of its own.
"""

JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
MESH_TO_68 = (*JAW, *BROWS, *NOSE, *EYES, *OUTER_LIPS, *INNER_LIPS)
