"""The space of the embedded encoder, computed once in a process: it follows from published files, and takes long."""

from moderator.encoders.embedded import efficientnet, embedded_encoder
from moderator.encoders.embedded.class_texts import ClassTexts, load_class_texts
from moderator.encoders.embedded.conse import JointSpace, Matrix, join


def share_joint_space() -> None:
    """Let all embedded encoders of this process, and of those that it forks, have one space. Others are computed."""
    texts, weight = load_class_texts(), efficientnet.load_classifier()[1].numpy()
    shared = join(texts, weight)

    def shared_join(asked: ClassTexts, classifier: Matrix) -> JointSpace:
        same = asked.digest == texts.digest and (classifier == weight).all()
        return shared if same else join(asked, classifier)

    embedded_encoder.join = shared_join
