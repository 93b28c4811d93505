//! CIFAR-10 and CIFAR-100: the names of their classes, in the order of the labels.

/// CIFAR-10 or CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cifar {
    /// CIFAR-10: ten classes.
    Ten,
    /// CIFAR-100: a hundred classes, grouped into twenty superclasses.
    Hundred,
}

impl Cifar {
    /// The name for [`Dataset::open`](crate::Dataset::open): `cifar10` or `cifar100`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ten => "cifar10",
            Self::Hundred => "cifar100",
        }
    }

    /// Names of the classes; a label is an index into them.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Self::Ten => &CIFAR10,
            Self::Hundred => &CIFAR100,
        }
    }

    /// Names of the superclasses; a coarse label is an index into them. Empty for CIFAR-10.
    pub fn coarse_names(self) -> &'static [&'static str] {
        match self {
            Self::Ten => &[],
            Self::Hundred => &CIFAR100_COARSE,
        }
    }

    /// The repository on the hub.
    pub(crate) fn repository(self) -> &'static str {
        match self {
            Self::Ten => "uoft-cs/cifar10",
            Self::Hundred => "uoft-cs/cifar100",
        }
    }

    /// The files of the training part and of the test part in the repository.
    pub(crate) fn hub_files(self) -> [&'static str; 2] {
        match self {
            Self::Ten => [
                "plain_text/train-00000-of-00001.parquet",
                "plain_text/test-00000-of-00001.parquet",
            ],
            Self::Hundred => {
                ["cifar100/train-00000-of-00001.parquet", "cifar100/test-00000-of-00001.parquet"]
            }
        }
    }

    /// Checks a label and an optional coarse label.
    pub(crate) fn check(self, label: i64, coarse: Option<i64>) -> Result<(), String> {
        let range = |what: &str, value: i64, n: usize| match usize::try_from(value) {
            Ok(v) if v < n => Ok(()),
            _ => Err(format!(
                "{what} {value} is out of range; {} has labels 0 to {}",
                self.name(),
                n - 1
            )),
        };
        range("label", label, self.class_names().len())?;
        coarse.map_or(Ok(()), |c| range("coarse label", c, self.coarse_names().len()))
    }
}

#[rustfmt::skip]
const CIFAR10: [&str; 10] = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
];

#[rustfmt::skip]
const CIFAR100: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
    "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
    "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
    "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
    "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television",
    "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
];

#[rustfmt::skip]
const CIFAR100_COARSE: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores",
    "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees",
    "vehicles_1", "vehicles_2",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_must_be_within_their_range() {
        assert!(Cifar::Ten.check(9, None).is_ok());
        assert!(Cifar::Ten.check(10, None).unwrap_err().contains("0 to 9"));
        assert!(Cifar::Ten.check(-1, None).is_err());
        assert!(Cifar::Hundred.check(99, Some(19)).is_ok());
        assert!(Cifar::Hundred.check(99, Some(20)).unwrap_err().starts_with("coarse label 20"));
    }

    #[test]
    fn class_names_are_sorted() {
        for names in
            [Cifar::Ten.class_names(), Cifar::Hundred.class_names(), Cifar::Hundred.coarse_names()]
        {
            assert!(names.is_sorted());
        }
    }
}
