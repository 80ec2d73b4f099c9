//! Autonomous systems of hosting and cloud providers.
//!
//! The numbers are those under which the providers themselves announce their networks, collected by hand; the table is
//! not complete, and the operator's list adds what is missing. It leaves out systems that host servers but that humans
//! browse from as well:
//! - Akamai, Cloudflare and Fastly, where the traffic of Apple's Private Relay and WARP exits;
//! - the gateways of companies, such as Zscaler, Netskope and Cisco Umbrella;
//! - Google's 15169, which carries the traffic of humans, too (its cloud has a number of its own);
//! - access providers, fixed or mobile, which rent out servers as well;
//! - hosting providers with mostly VPN exits (M247, Datacamp, Clouvider): these are anonymizers.

/// Whether a system belongs to a hosting or cloud provider.
pub(super) fn is_hosting(number: u32) -> bool {
    HOSTING.binary_search(&number).is_ok()
}

/// Sorted; a test holds that.
const HOSTING: &[u32] = &[
    7203,    // Leaseweb, USA
    7684,    // Sakura Internet
    8075,    // Microsoft Azure
    8560,    // IONOS
    9123,    // Timeweb
    9370,    // Sakura Internet
    9371,    // Sakura Internet
    12200,   // Rackspace
    12876,   // Scaleway
    14061,   // DigitalOcean
    14618,   // Amazon
    15395,   // Rackspace, United Kingdom
    16125,   // Cherry Servers
    16276,   // OVH
    16509,   // Amazon
    19318,   // Interserver
    19994,   // Rackspace
    20473,   // Vultr
    20773,   // Host Europe
    22612,   // Namecheap
    24940,   // Hetzner
    24961,   // myLoc
    26347,   // DreamHost
    26496,   // GoDaddy
    27357,   // Rackspace
    28753,   // Leaseweb, Germany
    29066,   // velia.net
    30633,   // Leaseweb, USA
    31898,   // Oracle Cloud
    32244,   // Liquid Web
    33070,   // Rackspace
    34788,   // all-inkl
    36351,   // IBM Cloud
    36352,   // ColoCrossing
    37963,   // Alibaba Cloud, China
    40021,   // Contabo, USA
    40676,   // Psychz
    44273,   // GoDaddy, Europe
    45090,   // Tencent Cloud, China
    45102,   // Alibaba Cloud
    46475,   // Limestone Networks
    46606,   // Unified Layer
    47583,   // Hostinger
    49505,   // Selectel
    49981,   // WorldStream
    50673,   // Serverius
    51167,   // Contabo
    53667,   // FranTech
    53824,   // Liquid Web
    54290,   // Hostwinds
    55286,   // ServerMania
    55293,   // A2 Hosting
    55990,   // Huawei Cloud, China
    59253,   // Leaseweb, Asia
    60781,   // Leaseweb, Netherlands
    62567,   // DigitalOcean
    63949,   // Linode
    132_203, // Tencent Cloud
    136_907, // Huawei Cloud
    141_995, // Contabo, Asia
    197_540, // netcup
    197_695, // REG.RU
    200_350, // Yandex Cloud
    202_053, // UpCloud
    205_544, // Leaseweb, United Kingdom
    212_317, // Hetzner Cloud
    213_230, // Hetzner Cloud
    393_406, // DigitalOcean
    396_982, // Google Cloud
    398_101, // GoDaddy
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(HOSTING.is_sorted_by(|one, next| one < next));
        assert!(is_hosting(24940) && is_hosting(398_101) && is_hosting(7203));
    }

    #[test]
    fn systems_that_humans_browse_from_are_not_in_it() {
        // Private Relay and WARP, gateways of companies, networks of access, exits of VPNs.
        let humans = [
            13335, 20940, 36183, 54113, 22616, 53813, 62044, 55256, 36692, 15169, 714, 3320, 7018, 7922, 3215, 6830,
            21928, 9009, 60068, 212_238, 62240, 0, 64496,
        ];
        assert_eq!(humans.into_iter().find(|number| is_hosting(*number)), None);
    }
}
