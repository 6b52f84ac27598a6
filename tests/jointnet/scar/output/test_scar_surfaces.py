import base64
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jointnet.phantom.scanner import rotation
from jointnet.scar.output.surfaces import Mesh, surface, surfaces, write_stl, write_vtp
from jointnet.structures import CLASS_INDEX

SPACINGS_MM = [(5.0, 0.75, 0.75), (8.0, 1.25, 1.0), (10.0, 1.3, 1.3)]


def affine_of(spacing_mm, mirrored=False):
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.array([0.4, -0.7, 0.2])) @ np.diag(spacing_mm)
    affine[:3, 3] = [20, -35, 11]
    if mirrored:
        affine[:3, 2] *= -1
    return affine


def ellipsoid(spacing_mm, semiaxes_mm):
    shape = [int(np.ceil(2.6 * semi / step)) for semi, step in zip(semiaxes_mm, spacing_mm, strict=True)]
    grid = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing_mm, strict=True)], indexing="ij"
    )
    return sum((axis / semi) ** 2 for axis, semi in zip(grid, semiaxes_mm, strict=True)) <= 1


def signed_volume_ml(mesh):
    """Return the volume by the divergence theorem: one sixth of the sum of the triangles' triple products."""
    return sum(np.linalg.det(mesh.points_mm[triangle]) for triangle in mesh.triangles) / 6000


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("semiaxes_mm", [(30.0, 30.0, 30.0), (42.0, 25.0, 33.0)])
def test_the_surface_of_an_ellipsoid_encloses_its_volume(spacing_mm, mirrored, semiaxes_mm):
    mesh = surface(ellipsoid(spacing_mm, semiaxes_mm), affine_of(spacing_mm, mirrored))
    formula_ml = 4 / 3 * np.pi * np.prod(semiaxes_mm) / 1000
    assert signed_volume_ml(mesh) == pytest.approx(formula_ml, rel=0.03)
    assert mesh.volume_ml == pytest.approx(signed_volume_ml(mesh), rel=1e-6)


def test_the_surface_lies_where_the_affine_says():
    spacing_mm, semiaxes_mm = (5.0, 0.75, 0.75), np.array([40.0, 20.0, 30.0])
    mask, affine = ellipsoid(spacing_mm, semiaxes_mm), affine_of((5.0, 0.75, 0.75))
    mesh = surface(mask, affine)
    voxels = (mesh.points_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    own_mm = (voxels - (np.array(mask.shape) - 1) / 2) * spacing_mm
    distance = np.linalg.norm(own_mm / semiaxes_mm, axis=1) - 1
    side = np.abs(own_mm[:, 0]) < 25
    assert np.abs(distance[side]).max() < 0.06
    assert np.abs(own_mm).max(0) == pytest.approx(semiaxes_mm, abs=2.6)


def test_every_edge_belongs_to_two_triangles():
    triangles = surface(ellipsoid((8.0, 1.25, 1.25), (30.0, 20.0, 20.0)), affine_of((8.0, 1.25, 1.25))).triangles
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_one_slice_becomes_a_slab_as_thick_as_the_slice():
    spacing_mm = (8.0, 0.5, 0.5)
    down, right = np.meshgrid(*[(np.arange(120) - 59.5) * 0.5] * 2, indexing="ij")
    mask = np.zeros((3, 120, 120), bool)
    mask[1] = np.hypot(down, right) < 20
    mesh = surface(mask, affine_of(spacing_mm))
    assert mesh.volume_ml == pytest.approx(np.pi * 20**2 * 8 / 1000, rel=0.02)
    alone = surface(mask[1:2], affine_of(spacing_mm))
    assert alone.volume_ml == pytest.approx(mesh.volume_ml, rel=1e-3)


def test_a_mask_that_reaches_the_border_is_closed():
    mask = np.ones((2, 30, 30), bool)
    mesh = surface(mask, np.diag([5.0, 1.0, 1.0, 1.0]), smoothing_mm=0.0)
    assert mesh.volume_ml == pytest.approx(2 * 5 * 30 * 30 / 1000, rel=0.02)


def test_structures_that_are_not_there_have_no_surface():
    labels = np.zeros((3, 20, 20), np.uint8)
    assert surfaces(labels, labels > 0, np.eye(4)) == {}
    labels[1, 5:15, 5:15] = CLASS_INDEX["rv"]
    scar = np.zeros(labels.shape, bool)
    scar[1, 7, 7:9] = True
    assert list(surfaces(labels, scar, np.eye(4))) == ["rv", "scar"]


@pytest.fixture
def tetrahedron():
    points = np.array([[0, 0, 0], [6, 0, 0], [0, 10, 0], [0, 0, 100]], float)
    return Mesh(points, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))


def test_stl_holds_the_triangles_and_their_outward_normals(tetrahedron, tmp_path):
    assert tetrahedron.volume_ml == pytest.approx(1.0)
    write_stl(tmp_path / "a.stl", tetrahedron)
    content = (tmp_path / "a.stl").read_bytes()
    assert len(content) == 84 + 4 * 50
    assert not content.startswith(b"solid")
    assert int.from_bytes(content[80:84], "little") == 4
    first = np.frombuffer(content[84 : 84 + 48], "<f4").reshape(4, 3)
    np.testing.assert_allclose(first, [[0, 0, -1], [0, 0, 0], [0, 10, 0], [6, 0, 0]])


def test_vtp_holds_points_and_polygons(tetrahedron, tmp_path):
    write_vtp(tmp_path / "a.vtp", tetrahedron)
    root = ElementTree.parse(tmp_path / "a.vtp").getroot()
    piece = root.find("PolyData/Piece")
    assert (piece.get("NumberOfPoints"), piece.get("NumberOfPolys")) == ("4", "4")
    kinds = {"Float32": "<f4", "Int64": "<i8"}
    arrays = {}
    for element in root.iter("DataArray"):
        content = base64.b64decode(element.text)
        assert int.from_bytes(content[:8], "little") == len(content) - 8
        arrays[element.get("Name")] = np.frombuffer(content[8:], kinds[element.get("type")])
    np.testing.assert_array_equal(arrays["Points"].reshape(4, 3), tetrahedron.points_mm)
    np.testing.assert_array_equal(arrays["connectivity"].reshape(4, 3), tetrahedron.triangles)
    assert arrays["offsets"].tolist() == [3, 6, 9, 12]


@pytest.mark.parametrize(("write", "reader"), [(write_stl, "vtkSTLReader"), (write_vtp, "vtkXMLPolyDataReader")])
def test_vtk_reads_the_files(write, reader, tetrahedron, tmp_path):
    vtk = pytest.importorskip("vtk", reason="VTK is half a gigabyte and not installed by the project")
    write(tmp_path / "mesh", tetrahedron)
    source = getattr(vtk, reader)()
    source.SetFileName(str(tmp_path / "mesh"))
    source.Update()
    found = vtk.vtkMassProperties()
    found.SetInputData(source.GetOutput())
    assert source.GetOutput().GetNumberOfPoints() == 4
    assert source.GetOutput().GetNumberOfPolys() == 4
    assert found.GetVolume() == pytest.approx(1000)
